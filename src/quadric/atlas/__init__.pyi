from .folder.reader import AtlasFolder as AtlasFolder
from .folder.writer import AtlasWriter as AtlasWriter
from .widget import AtlasWidget as AtlasWidget
