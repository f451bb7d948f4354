"""Transforms of the features of one sky: composable, invertible, fitted on the training split.

All kinds there are, and what makes one from its saved state.
"""

from cmbml.learning.arrangements import Compose as Compose
from cmbml.learning.arrangements import Rearrange as Rearrange
from cmbml.learning.arrangements import ReferenceDifference as ReferenceDifference
from cmbml.learning.scalings import Factor as Factor
from cmbml.learning.scalings import MaxAbs as MaxAbs
from cmbml.learning.scalings import MinMax as MinMax
from cmbml.learning.scalings import Standardise as Standardise
from cmbml.learning.scalings import UnitConversion as UnitConversion
from cmbml.learning.transform import Identity as Identity
from cmbml.learning.transform import Transform as Transform
from cmbml.learning.transform import transform_from_state as transform_from_state
