from .autoencoders import AutoencoderConfig as AutoencoderConfig
from .autoencoders import BilinearAutoencoder as BilinearAutoencoder
from .errors import Interrupted as Interrupted
from .errors import QuadricError as QuadricError
from .forms import BilinearTensor as BilinearTensor
from .training import TrainingConfig as TrainingConfig
from .training import train as train

__version__: str
