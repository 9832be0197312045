"""Who tests the tests?  Break the gradients, one line at a time, and see the checks go red.

Every function that computes a gradient is taken apart into its syntax tree, and a list of small
accidents happens to it, one at a time: a sign flipped, a term or a factor dropped, operands
swapped, a mask forgotten, a statement lost, a result doubled, `+=` become `=`.  The module is then
run under another name, with the broken function in it, and its gradient check must notice.  A
mutant that no check notices is printed with its line.
"""

import ast
import copy
import functools
import inspect
import textwrap
import types

import numpy as np
import pytest
from helpers.checks_beyond import (
    BEYOND,
    best_of_n_errors,
    dpo_errors,
    grpo_advantages_errors,
    grpo_errors,
    ipo_errors,
    k3_errors,
    optimal_policy_errors,
    reinforce_errors,
    rloo_errors,
    weights_errors,
)
from helpers.checks_layers import CASES, layer_errors
from helpers.checks_model import OBJECTIVES, model_errors
from helpers.checks_step1 import cross_entropy_errors
from helpers.checks_step2 import (
    bradley_terry_errors,
    plackett_luce_errors,
    ranking_errors,
    reward_model_errors,
)
from helpers.checks_step3 import (
    clipped_loss_errors,
    gae_errors,
    policy_loss_errors,
    rewards_errors,
    value_loss_errors,
    whiten_errors,
)
from helpers.gradients import TOLERANCE

from minirlhf import gpt, layers, step1_language_model, step2_reward_model, step3_ppo
from minirlhf.beyond import best_of_n, dpo, optimum, policy_gradient

# ---- what is broken, and the checks that must notice -----------------------------------------


def layer(*names):
    return [functools.partial(layer_errors, name) for name in names]


def model(*names):
    objectives = OBJECTIVES | BEYOND
    return [functools.partial(model_errors, objectives[name]) for name in names]


TARGETS = {
    (layers, "linear_backward"): layer("linear"),
    (layers, "column_sum"): layer("linear"),
    (layers, "embedding_backward"): layer("embedding"),
    (layers, "layernorm_backward"): layer("layernorm"),
    (layers, "gelu_backward"): layer("gelu"),
    (layers, "attention_backward"): layer("attention"),
    (layers, "softmax_backward"): layer("softmax"),
    (layers, "token_logprobs_backward"): layer("token_logprobs"),
    (layers, "entropy_backward"): layer("entropy"),
    (gpt, "lm_head_backward"): layer("lm_head"),
    (gpt, "scalar_head_backward"): layer("scalar_head"),
    (gpt, "gpt_backward"): model("trunk"),
    (step1_language_model, "cross_entropy"): [cross_entropy_errors],
    (step1_language_model, "language_model_loss"): model(
        "language model, tied head", "language model, untied head"
    ),
    (step2_reward_model, "sigmoid_of_minus"): [bradley_terry_errors],
    (step2_reward_model, "bradley_terry_loss"): [bradley_terry_errors],
    (step2_reward_model, "ranking_loss"): [ranking_errors],
    (step2_reward_model, "plackett_luce_loss"): [plackett_luce_errors],
    (step2_reward_model, "reward_model_backward"): [reward_model_errors],
    (step2_reward_model, "reward_model_loss"): model(
        "reward model, k-wise", "reward model, Plackett-Luce"
    ),
    (step3_ppo, "kl_shaped_rewards"): [rewards_errors],
    (step3_ppo, "gae"): [gae_errors],
    (step3_ppo, "whiten"): [whiten_errors],
    (step3_ppo, "ppo_policy_loss"): [policy_loss_errors],
    (step3_ppo, "value_loss"): [value_loss_errors],
    (step3_ppo, "clipped_loss"): [clipped_loss_errors],
    (step3_ppo, "policy_objective"): model(
        "policy, tied head, entropy bonus", "policy, untied head"
    ),
    (step3_ppo, "value_objective"): model("value"),
    (best_of_n, "best_of_n_distribution"): [best_of_n_errors],
    (best_of_n, "best_of_n_kl"): [best_of_n_errors],
    (best_of_n, "best_of_n_kl_bound"): [best_of_n_errors],
    (best_of_n, "best_of_n_value"): [best_of_n_errors],
    (policy_gradient, "rloo_advantages"): [rloo_errors],
    (policy_gradient, "grpo_advantages"): [grpo_advantages_errors],
    (policy_gradient, "reinforce_loss"): [reinforce_errors],
    (policy_gradient, "k3_loss"): [k3_errors],
    (policy_gradient, "token_weights"): [weights_errors],
    (policy_gradient, "grpo_loss"): [grpo_errors],
    (policy_gradient, "policy_backward"): model("REINFORCE", "Dr. GRPO"),
    (policy_gradient, "reinforce_objective"): model("REINFORCE"),
    (policy_gradient, "grpo_objective"): model("GRPO", "Dr. GRPO"),
    (dpo, "dpo_loss"): [dpo_errors],
    (dpo, "ipo_loss"): [ipo_errors],
    (dpo, "dpo_objective"): model("DPO", "IPO"),
    (optimum, "optimal_policy"): [optimal_policy_errors],
}

# Mutants that compute the same numbers, each with the reason: (function, what stands left of `=`,
# what has happened).  One that is noticed after all, or no longer exists, is an error.
CLIP_COMMUTES = "clip(x, low, high) = min(max(x, low), high), and max does not mind the order"
EVEN = "only its square or its absolute value is used"
ONLY_ON_THE_KINK = "differs only exactly on a kink, where there is no derivative"
MASKED_BEFORE = "log_ratio is 0 outside the response already, so the ratio is 1 there"
CLIP_IS_EXACT = "inside the range np.clip returns its argument bit for bit: both errors are equal"
EQUIVALENT = {
    ("plackett_luce_loss", "top", "top doubled"): "any shift cancels; this one prevents overflow",
    ("gae", "rewards", "rewards * response_mask: left operand alone"): (
        "next_advantage is masked, so finite rewards outside the response go nowhere anyway"
    ),
    ("whiten", "variance", "x - mean: operands swapped"): EVEN,
    ("ppo_policy_loss", "clipped",
     "np.clip(ratio, 1 - clip_range, 1 + clip_range): arguments 0 and 1 of clip swapped",
    ): CLIP_COMMUTES,
    ("ppo_policy_loss", "outside", "ratio - 1: operands swapped"): EVEN,
    ("ppo_policy_loss", "outside", "np.abs(ratio - 1) > clip_range: comparison or equal"): (
        ONLY_ON_THE_KINK
    ),
    ("ppo_policy_loss", "stats", "is_clipped * response_mask: left operand alone"): MASKED_BEFORE,
    ("ppo_policy_loss", "stats", "outside * response_mask: left operand alone"): MASKED_BEFORE,
    ("ppo_policy_loss", "kl_terms",
     "(np.expm1(log_ratio) - log_ratio) * response_mask: left operand alone",
    ): MASKED_BEFORE,
    ("value_loss", "clipped_values",
     "np.clip(values, old_values - value_clip_range, old_values + value_clip_range): "
     "arguments 0 and 1 of clip swapped",
    ): CLIP_COMMUTES,
    ("value_loss", "clipped_error", "clipped_values - returns: operands swapped"): EVEN,
    ("value_loss", "inside", "values - old_values: operands swapped"): EVEN,
    ("value_loss", "inside",
     "np.abs(values - old_values) <= value_clip_range: comparison or equal",
    ): ONLY_ON_THE_KINK,
    ("value_loss", "has_gradient", "error ** 2 >= clipped_error ** 2: comparison or equal"):
        ONLY_ON_THE_KINK,
    ("value_loss", "has_gradient",
     "inside | (error ** 2 >= clipped_error ** 2): right operand alone",
    ): CLIP_IS_EXACT,
    ("policy_objective", "if settings.entropy_coef > 0:",
     "settings.entropy_coef > 0: comparison or equal",
    ): "with a coefficient of 0 the bonus is 0, and so is its gradient",
    ("best_of_n_distribution", "_, level_of", "level_of doubled"):
        "levels that nobody has stand between the others and hold no mass",
    ("dpo_objective", "loss, dchosen, drejected, stats",
     "loss_function(sums[:N], sums[N:], batch.ref_logprobs[:N], batch.ref_logprobs[N:], beta): "
     "arguments 1 and 2 of loss_function swapped",
    ): "margin = c - ref_c - r + ref_r: only the stats tell, and their test does",
}


# ---- accidents ------------------------------------------------------------------------------

OTHER_OPERATOR = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE,
    ast.BitOr: ast.BitAnd, ast.Eq: ast.NotEq,
}
OTHER_STRICTNESS = {ast.Lt: ast.LtE, ast.Gt: ast.GtE, ast.LtE: ast.Lt, ast.GtE: ast.Gt}
OTHER_FUNCTION = {"minimum": "maximum", "maximum": "minimum"}
# swapping their arguments, or leaving them out, is no accident: they commute, or only set a type
COMMUTES = {"minimum", "maximum", "logaddexp", "einsum"}
ONLY_A_TYPE = {"float", "astype"}
DROPPED_WITH_ITS_ARGUMENT_KEPT = {"exp", "expm1", "log", "abs", "sqrt", "clip", "where"}
EMPTY = {"zeros", "zeros_like", "empty", "empty_like"}
ONLY_A_SHAPE_INSIDE = EMPTY | {"swapaxes"}  # their arguments hold no number of the gradient
DROPPED_METHODS = {"sum", "swapaxes", "transpose", "reshape", "max"}


def two(node):
    """2 * (...)"""
    return ast.BinOp(ast.Constant(2), ast.Mult(), node)


def called(node):
    """The last name of what a call calls: np.exp -> exp."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def is_yes_or_no(node):
    """A boolean, as far as one can see: doubling it changes nothing."""
    is_or = isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)
    return isinstance(node, ast.Compare) or is_or


def broken_expressions(node):
    """Expression -> list of (what happened, expression)."""
    broken = []
    if isinstance(node, ast.BinOp):
        left, op, right = node.left, node.op, node.right
        broken += [("left operand alone", left), ("right operand alone", right)]
        if type(op) in OTHER_OPERATOR:
            other = ast.BinOp(left, OTHER_OPERATOR[type(op)](), right)
            broken.append(("other operator", other))
        if isinstance(op, (ast.Sub, ast.Div, ast.MatMult, ast.Pow)):
            broken.append(("operands swapped", ast.BinOp(right, op, left)))
    elif isinstance(node, ast.UnaryOp):
        broken.append(("sign or negation dropped", node.operand))
    elif isinstance(node, ast.Compare):
        op = type(node.ops[0])
        for table, label in ((OTHER_OPERATOR, "other way round"), (OTHER_STRICTNESS, "or equal")):
            if op in table:
                other = ast.Compare(node.left, [table[op]()], node.comparators)
                broken.append((f"comparison {label}", other))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        broken.append(("constant + 1", ast.Constant(node.value + 1)))
    elif isinstance(node, ast.Call):
        name = called(node)
        if name in OTHER_FUNCTION:
            func = ast.Attribute(node.func.value, OTHER_FUNCTION[name], ast.Load())
            broken.append((f"{name} -> {OTHER_FUNCTION[name]}", ast.Call(func, node.args, [])))
        if name in DROPPED_WITH_ITS_ARGUMENT_KEPT:
            for i, argument in enumerate(node.args):
                broken.append((f"{name} -> its argument {i}", argument))
        if name in DROPPED_METHODS and isinstance(node.func, ast.Attribute):
            broken.append((f".{name}() dropped", node.func.value))
        if len(node.args) >= 2 and name not in COMMUTES | DROPPED_METHODS | ONLY_A_TYPE:
            for i in range(len(node.args) - 1):
                args = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
                what = f"arguments {i} and {i + 1} of {name} swapped"
                broken.append((what, ast.Call(node.func, args, node.keywords)))
        for keyword in node.keywords:
            if keyword.arg == "keepdims":
                kept = [other for other in node.keywords if other is not keyword]
                broken.append(("keepdims dropped", ast.Call(node.func, node.args, kept)))
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        broken.append((".T dropped", node.value))
    return broken


def broken_statements(statement):
    """Statement -> list of (what happened, list of statements that stand in its place)."""
    broken = []
    if isinstance(statement, ast.AugAssign):
        plain = ast.Assign([statement.target], statement.value)
        broken += [("lost", []), (f"{type(statement.op).__name__}= became =", [plain])]
        if type(statement.op) in OTHER_OPERATOR:
            other = OTHER_OPERATOR[type(statement.op)]()
            replaced = ast.AugAssign(statement.target, other, statement.value)
            broken.append(("other operator", [replaced]))
        doubled = ast.AugAssign(statement.target, statement.op, two(statement.value))
        broken.append(("doubled", [doubled]))
    elif isinstance(statement, ast.Assign):
        targets = statement.targets[0]
        for target in targets.elts if isinstance(targets, ast.Tuple) else [targets]:
            if isinstance(target, ast.Tuple) or ast.unparse(target) in UNCHECKED_RESULTS:
                continue
            if isinstance(statement.value, ast.Call) and called(statement.value) in EMPTY:
                continue  # twice nothing is nothing
            loaded = copy.deepcopy(target)
            loaded.ctx = ast.Load()
            doubled = ast.Assign([copy.deepcopy(target)], two(loaded))
            if not is_yes_or_no(statement.value):
                broken.append((f"{ast.unparse(target)} doubled", [statement, doubled]))
        if not isinstance(targets, (ast.Name, ast.Tuple)):  # x[...] = y: x lives on without it
            broken.append(("lost", []))
    elif isinstance(statement, ast.Expr):
        broken.append(("lost", []))
    elif isinstance(statement, ast.Return):
        value = statement.value
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        for i, part in enumerate(parts):
            if ast.unparse(part) not in UNCHECKED_RESULTS | {"scores"}:
                doubled = [two(p) if p is part else p for p in parts]
                whole = ast.Tuple(doubled, ast.Load()) if len(parts) > 1 else doubled[0]
                broken.append((f"result {i} doubled", [ast.Return(whole)]))
    return broken


# what an objective hands through beside loss and gradient; its own tests look at it
UNCHECKED_RESULTS = {"stats", "grads", "ranks", "_"}


def is_guard(statement):
    """`if ...: raise`, and the docstring: nothing to do with a gradient."""
    raises = isinstance(statement, ast.If) and isinstance(statement.body[0], ast.Raise)
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return raises or text


def statements_of(function):
    """Every (list of statements, index) below a function, loops and branches included."""
    places = []
    for node in ast.walk(function):
        for field in ("body", "orelse"):
            block = getattr(node, field, [])
            if isinstance(block, list):
                places += [(block, i) for i, s in enumerate(block) if not is_guard(s)]
    return places


def own_expressions(statement):
    """(parent, field, index or None, expression) of a statement, without its inner statements.

    The left side of an assignment is left alone, and so are shapes, annotations and names.
    """
    found, stack = [], [statement]
    while stack:
        parent = stack.pop()
        for field, value in ast.iter_fields(parent):
            if field in ("body", "orelse", "targets", "target", "func", "ctx"):
                if field == "func" and isinstance(value, ast.Attribute):
                    stack.append(value)  # x.sum(): x may be an expression
                continue
            for i, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(parent, ast.UnaryOp) and isinstance(child, ast.Constant):
                    continue  # the 1 of -1 says "the last" or "whatever is left"
                if isinstance(child, ast.expr):
                    found.append((parent, field, i if isinstance(value, list) else None, child))
                if isinstance(child, ast.Call) and called(child) in ONLY_A_SHAPE_INSIDE:
                    stack.append(child.func)
                elif isinstance(child, ast.AST):
                    stack.append(child)
    return found


def mutants(function):
    """Syntax tree of a function -> yields (line, what happened, mutated copy)."""
    for place in range(len(statements_of(function))):
        block, i = statements_of(function)[place]
        line = ast.unparse(block[i]).split("\n")[0]
        for number, (what, _) in enumerate(broken_statements(block[i])):
            mutant = copy.deepcopy(function)
            block, i = statements_of(mutant)[place]
            block[i : i + 1] = broken_statements(block[i])[number][1] or [ast.Pass()]
            yield line, what, mutant
        block, i = statements_of(function)[place]
        for spot, (*_, expression) in enumerate(own_expressions(block[i])):
            for number, (what, _) in enumerate(broken_expressions(expression)):
                mutant = copy.deepcopy(function)
                block, i = statements_of(mutant)[place]
                parent, field, index, expression = own_expressions(block[i])[spot]
                replacement = broken_expressions(expression)[number][1]
                if index is None:
                    setattr(parent, field, replacement)
                else:
                    getattr(parent, field)[index] = replacement
                yield line, f"{ast.unparse(expression)}: {what}", mutant


# ---- running a mutant -----------------------------------------------------------------------


@functools.cache
def parsed(module):
    """-> compiled module, {name of function: its syntax tree}."""
    tree = ast.parse(inspect.getsource(module))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    return compile(tree, module.__file__, "exec"), functions


def dirty_empty(shape, dtype=float):
    """np.empty that holds rubbish for certain; the real one may hold the right answer of before."""
    return np.full(shape, 1e9, dtype)


@functools.cache
def numpy_with_dirty_memory():
    twin = types.ModuleType("numpy")
    vars(twin).update(vars(np), empty=dirty_empty)
    return twin


def module_with(module, function=None):
    """The whole module again under another name, imports and all, with one function replaced."""
    twin = types.ModuleType(f"mutant_of_{module.__name__.split('.')[-1]}")
    exec(parsed(module)[0], vars(twin))
    twin.np = numpy_with_dirty_memory()
    if function is not None:
        tree = ast.fix_missing_locations(ast.Module([function], []))
        exec(compile(tree, "<mutant>", "exec"), vars(twin))
    return twin


def is_noticed(module, checks):
    """Does one of the checks raise, or report an error beyond the tolerance?"""
    with np.errstate(all="ignore"):
        for check in checks:
            try:
                errors = check(module)
            except Exception:  # a mutant may fail in any way
                return True
            if not all(error < TOLERANCE for error in errors.values()):
                return True
    return False


def left_side(line):
    """What a line assigns to; the whole line if it assigns nothing."""
    left, assigns, _ = line.partition(" = ")
    # Python 3.10 writes brackets around a tuple
    return left.removeprefix("(").removesuffix(")") if assigns else left


def is_quick(target):
    """Are there only checks of single functions, and none of all weights of a model?"""
    checks = TARGETS[target]
    return not [c for c in checks if isinstance(c, functools.partial) and c.func is model_errors]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, id=target[1], marks=[] if is_quick(target) else [pytest.mark.slow])
        for target in TARGETS
    ],
)
def test_every_broken_line_is_noticed(target):
    module, name = target
    count, survivors, wrongly_listed = 0, [], []
    assert not is_noticed(module_with(module), TARGETS[target]), "the check is red by itself"
    for line, what, mutant in mutants(parsed(module)[1][name]):
        count += 1
        noticed = is_noticed(module_with(module, mutant), TARGETS[target])
        listed = (name, left_side(line), what) in EQUIVALENT
        if not noticed and not listed:
            survivors.append(f"\n    {line}\n        {what}")
        if noticed and listed:
            wrongly_listed.append(f"\n    {line}\n        {what}")
    assert count >= 3, "hardly anything was broken: the mutator does not understand this function"
    assert not survivors, f"{name}: of {count} mutants these went unnoticed:{''.join(survivors)}"
    assert not wrongly_listed, f"{name}: not equivalent after all:{''.join(wrongly_listed)}"


@pytest.mark.slow
def test_every_equivalent_mutant_exists_and_has_a_reason():
    """A line that was rewritten must not leave its excuse behind."""
    existing = {
        (name, left_side(line), what)
        for module, name in TARGETS
        for line, what, _ in mutants(parsed(module)[1][name])
    }
    gone = [key for key in EQUIVALENT if key not in existing]
    assert not gone and all(EQUIVALENT.values())


def test_every_function_that_computes_a_gradient_is_broken():
    """Backward passes, losses and objectives: whatever is added must be added to TARGETS too."""
    beyond = (policy_gradient, dpo)
    for module in (layers, gpt, step1_language_model, step2_reward_model, step3_ppo, *beyond):
        for name in parsed(module)[1]:
            if name.endswith(("_backward", "_loss", "_objective")) or name == "cross_entropy":
                if name != "evaluate_loss":  # no gradient
                    assert (module, name) in TARGETS, name


def test_the_checks_used_here_are_those_of_the_other_files():
    checks = [check for checks in TARGETS.values() for check in checks]
    used = {check.args[0] for check in checks if isinstance(check, functools.partial)}
    objectives = {*OBJECTIVES.values(), *BEYOND.values()}
    assert used - set(CASES) - objectives == set()
    assert set(CASES) - used == {"lm_head untied"} and objectives <= used


def test_the_mutator_on_a_function_everyone_can_check():
    """f(x, y) = 3 x - y: all its mutants, in words."""

    def source(x, y):
        a = x * 3
        a -= y
        return a

    tree = ast.parse(textwrap.dedent(inspect.getsource(source)))
    found = {(line, what) for line, what, _ in mutants(tree.body[0])}
    assert found == {
        ("a = x * 3", "a doubled"),
        ("a = x * 3", "x * 3: left operand alone"),
        ("a = x * 3", "x * 3: right operand alone"),
        ("a = x * 3", "x * 3: other operator"),
        ("a = x * 3", "3: constant + 1"),
        ("a -= y", "lost"),
        ("a -= y", "Sub= became ="),
        ("a -= y", "other operator"),
        ("a -= y", "doubled"),
        ("return a", "result 0 doubled"),
    }
    for _, _, mutant in mutants(tree.body[0]):
        scope = {}
        exec(compile(ast.fix_missing_locations(ast.Module([mutant], [])), "<test>", "exec"), scope)
        assert scope["source"](2.0, 5.0) != 1.0
