from .blocked import reconstruction_energy as reconstruction_energy
from .energies import sample_energies as sample_energies
from .precision import fastest_product_dtype as fastest_product_dtype
from .reference import reference_energy as reference_energy
