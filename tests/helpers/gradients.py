"""What every check of a gradient needs: a tolerance, and a loss beside its naive version."""

from minirlhf.gradcheck import numerical_gradient, relative_error

TOLERANCE = 1e-6  # largest allowed relative error; right gradients reach about 1e-9


def loss_errors(result, naive, *arrays):
    """Compare a loss with a naive version of it, and its gradients with differences of that.

    result: (loss, gradient of each array ..., perhaps a NamedTuple of stats) from the package;
    naive(): -> loss and stats (a tuple, may be empty), computed from the same arrays.
    -> {what: error}.
    """
    naive_loss, naive_stats = naive()
    loss, gradients, stats = result[0], result[1 : 1 + len(arrays)], result[1 + len(arrays) :]
    assert len(stats) == bool(naive_stats), result
    errors = {"loss": abs(loss - naive_loss) / abs(naive_loss)}
    for i, (gradient, array) in enumerate(zip(gradients, arrays, strict=True)):
        errors[f"gradient {i}"] = relative_error(
            gradient, numerical_gradient(lambda: naive()[0], array)
        )
    for field, value, wanted in zip(*named(stats), naive_stats, strict=True):
        errors[field] = abs(value - wanted)
    return errors


def named(stats):
    """(NamedTuple,) or () -> its field names, its values."""
    return (stats[0]._fields, stats[0]) if stats else ((), ())


def wrong(errors):
    """-> {tensor: error} of those beyond the tolerance."""
    return {name: error for name, error in errors.items() if not error < TOLERANCE}
