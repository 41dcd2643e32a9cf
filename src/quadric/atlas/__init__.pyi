from .reader import AtlasFolder as AtlasFolder
from .widget import AtlasWidget as AtlasWidget
from .writer import AtlasWriter as AtlasWriter
