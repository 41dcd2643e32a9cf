from .topk import TopKAutoencoder as TopKAutoencoder
from .topk import train_topk as train_topk
