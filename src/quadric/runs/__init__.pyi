from .config import RunConfig as RunConfig
from .evaluate import evaluate_run as evaluate_run
from .execution import execute as execute
from .latents import describe_latents as describe_latents
