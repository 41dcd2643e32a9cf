from .config import TrainingConfig as TrainingConfig
from .loop import train as train
