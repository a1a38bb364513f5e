"""How well a form fits a page: whether its columns begin and end on rules of the page's table."""

from dataclasses import dataclass

from pipeline.forms import Form
from pipeline.frames import Frame

NEAR = 0.01  # so near to an edge a rule lies on it, as a share of the frame's width
# One column edge in five may lie on no rule: a rule that a binding hides, or one that was never printed.
# The rules of another table lie on some edges by chance, and its sides always do.
ENOUGH = 0.8


@dataclass(frozen=True, slots=True)
class Fit:
    """How a form's column edges lie on the rules of a page.

    `distance` is the mean distance of an edge from the nearest rule, as a share of the frame's width; None
    where there is no rule or no edge.
    """

    printed: bool
    n_edges: int
    n_on_rules: int
    distance: float | None

    @property
    def fits(self) -> bool:
        """Whether the page is of this form, as far as its rules tell."""
        return self.n_edges == 0 or (self.printed and self.n_on_rules >= ENOUGH * self.n_edges)


def fit_of(form: Form, frame: Frame) -> Fit:
    """Return how a form fits the frame of a page."""
    edges = form.edges()
    if not frame.rules or not edges:
        return Fit(frame.printed, len(edges), 0, None)
    distances = [min(abs(rule - edge) for rule in frame.rules) for edge in edges]
    n_on_rules = sum(distance <= NEAR for distance in distances)
    return Fit(frame.printed, len(edges), n_on_rules, sum(distances) / len(distances))
