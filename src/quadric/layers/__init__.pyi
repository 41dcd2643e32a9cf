from .gates import Gate as Gate
from .gates import apply_gate as apply_gate
from .layer import GatedLayer as GatedLayer
from .layer import Space as Space
from .wrapping import find_layers as find_layers
from .wrapping import wrap as wrap
