from abspos.api.arrays import energies as energies
from abspos.api.results import Results as Results
from abspos.api.results import load_components as load_components
from abspos.api.results import open_results as open_results
from abspos.components.decomposition import decompose as decompose

__version__: str
