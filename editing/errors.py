"""Every error that Errata raises, as one tree.

    ErrataError                 something a person must act on; its text says what to do
    ├── ModelError              a model file, specification or architecture name that cannot be used
    ├── ConstraintError         a constraint that no editor can accept (shape, class, NaN, contradiction)
    ├── ScopeError              editable layers that match nothing
    ├── DataError               a data set, split or image that cannot be used
    ├── MeasurementError        numbers that cannot be made from what was given (nothing, NaN, lengths that differ)
    ├── ExportError             an ONNX file or delta that cannot be made, applied or run
    ├── StoreError              the store: missing, changed under us, or refused
    │   ├── NotStored           no object under that key
    │   ├── Unreadable          this one object cannot be read, while the store answers for others
    │   ├── AlreadyStored       a write-once key already holds other content
    │   ├── Superseded          compare-and-swap lost: somebody else wrote first
    │   └── StoreUnusable       the store cannot keep its contract (or cannot be reached)
    ├── Expired                 a pointer whose time is over, and which nobody renewed
    ├── NothingServed           an inference client has no release that verifies and loads
    ├── UnknownPrediction       a report on a prediction that this service never made
    ├── Removed                 parts of a release that were erased or pruned on purpose; says when and by whom
    ├── Damaged                 bytes that do not match their recorded digest
    ├── TooLarge                more bytes or pixels than the limit allows
    ├── NotInstalled            an optional package that this needs; says what to install
    ├── ForeignCode             a release names commands or modules that are not this installation's
    └── NightError              a step of the night failed; the old model stays live

An edit that does not converge is not an error: it is an `EditResult` with `success=False` and a reason.
"""


class ErrataError(Exception):
    """Base of the tree; the command line prints its text as one line and exits with `exit_code`."""

    exit_code = 1


class ModelError(ErrataError):
    """A model file, specification or architecture name that cannot be used."""


class ConstraintError(ErrataError, ValueError):
    """A constraint that no editor can accept."""


class ScopeError(ErrataError, ValueError):
    """Editable layers that match no parameter of the model."""


class DataError(ErrataError):
    """A data set, split or image that cannot be used."""


class MeasurementError(ErrataError, ValueError):
    """Numbers that cannot be made from what was given: nothing, NaN, or lengths that differ."""


class ExportError(ErrataError):
    """An ONNX file or delta that cannot be made, applied or run."""


class StoreError(ErrataError):
    """The store is missing something, changed under us, or refused."""


class NotStored(StoreError, KeyError):  # noqa: N818 - a state of the store, not a fault
    """No object under that key."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0]) if self.args else "no such object"


class Unreadable(StoreError):  # noqa: N818 - a state of one object
    """This one object cannot be read (no permission, an archive, a broken sector), while the store answers for others.

    Whoever reads many objects goes on with the next one."""


class AlreadyStored(StoreError):  # noqa: N818
    """A write-once key already holds other content."""


class Superseded(StoreError):  # noqa: N818
    """Compare-and-swap lost: somebody else wrote first. Read again and decide anew."""


class StoreUnusable(StoreError):  # noqa: N818
    """The store cannot keep its contract, or cannot be reached."""


class Damaged(ErrataError):  # noqa: N818
    """Bytes that do not match their recorded digest."""


class Expired(ErrataError):  # noqa: N818
    """A pointer to the live release whose time is over, and which nobody renewed."""


class Removed(ErrataError):  # noqa: N818
    """Parts of a release that somebody erased or pruned on purpose."""


class TooLarge(ErrataError):  # noqa: N818
    """More bytes or pixels than the limit allows."""


class NotInstalled(ErrataError):  # noqa: N818 - a state of the installation
    """An optional package that this needs is not installed."""


class NothingServed(ErrataError):  # noqa: N818 - a state of the client
    """An inference client has no release that verifies and loads."""


class UnknownPrediction(ErrataError):  # noqa: N818 - a fault of who asks
    """A report on a prediction that this service never made, or on another image."""


class ForeignCode(ErrataError):  # noqa: N818
    """A release names commands or modules that are not this installation's; nothing of them is run."""


class NightError(ErrataError):
    """A step of the night failed; the old model stays live."""
