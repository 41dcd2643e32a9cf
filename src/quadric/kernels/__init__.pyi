from .blocked import reconstruction_energy as reconstruction_energy
from .energies import sample_energies as sample_energies
from .precision import fastest_product_dtype as fastest_product_dtype
from .reference import reference_energy as reference_energy
from .selection import Strongest as Strongest
from .selection import strongest_products as strongest_products
from .sparse import sparse_squared_error as sparse_squared_error
from .sparse import sparse_squared_errors as sparse_squared_errors
