from .config import AutoencoderConfig as AutoencoderConfig
from .config import Metadata as Metadata
from .density import hoyer_density as hoyer_density
from .loss import Loss as Loss
from .model import BilinearAutoencoder as BilinearAutoencoder
from .transform import InputTransform as InputTransform
