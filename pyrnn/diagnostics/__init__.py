"""The gradient made visible: how far back a recurrent layer carries it, and what stands in its way.

`report` says in one call whether gradients vanish, explode or are healthy; the others return the numbers
behind it, for any recurrent layer, layer by layer and direction by direction. `pyrnn.plot` draws them.
"""

from .gates import Saturation, gate_activations, gate_saturation
from .gradients import gradient_norms, hidden_gradients, hidden_states
from .jacobian import StepJacobian, step_jacobian
from .verdict import Report, SlotReport, report

__all__ = [
    "Report",
    "Saturation",
    "SlotReport",
    "StepJacobian",
    "gate_activations",
    "gate_saturation",
    "gradient_norms",
    "hidden_gradients",
    "hidden_states",
    "report",
    "step_jacobian",
]
