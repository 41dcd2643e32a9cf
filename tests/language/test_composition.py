"""Composed latents against the whole thing written out: every form d×d, every latent a loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from quadric import QuadricError
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.language.composition import Composition, compose, explained
from quadric.language.latent_forms import rotation
from quadric.layers import GatedLayer
from tests.forms.builders import close, noise
from tests.oracles import autoencoders as oracle
from tests.oracles import forms as written_out

D, N, M, T = 5, 7, 4, 40
P, Q = 9, 6
PLAIN: dict[str, Any] = {"centre": False, "norm": "none"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "plain": ({**PLAIN}, {**PLAIN}, False),
    "biased": ({**PLAIN}, {**PLAIN}, True),
    "constant": ({"norm": "constant"}, {"norm": "constant", "scale": "dimension"}, False),
    "unit": ({"norm": "unit"}, {"norm": "unit"}, True),
    "unit scaled": ({"norm": "unit", "scale": "whole", "centre": False}, {"norm": "none"}, False),
    "affine": (
        {"norm": "constant", "affine": True, "scale": "dimension"},
        {"norm": "none", "affine": True},
        True,
    ),
    "composite": (
        {"norm": "constant", "variant": "composite", "block": 3, "affine": True},
        {"norm": "unit", "variant": "composite", "block": 2},
        False,
    ),
    "mixed": (
        {"norm": "none", "variant": "mixed", "bottleneck": 1.0, "affine": True},
        {"norm": "constant", "variant": "combined", "bottleneck": 0.8},
        True,
    ),
    "ordered": ({"norm": "none", "variant": "ordered"}, {"symmetric": False}, False),
}


def autoencoder(seed: int, d_in: int, d_sae: int, x: Tensor, **parts: Any) -> BilinearAutoencoder:
    """With weights of its own, and a transform fitted on x."""
    config = AutoencoderConfig(d_in=d_in, d_sae=d_sae, seed=seed, **parts)
    model = BilinearAutoencoder(config).double()
    if hasattr(model.mixing, "weight"):
        model.mixing.weight.data = noise(seed + 7, *model.mixing.weight.shape) / d_sae**0.5
    model.transform.fit(x)
    return model.requires_grad_(False)


def made(name: str) -> tuple[Composition, GatedLayer, Tensor]:
    first, second, biased = CASES[name]
    layer = GatedLayer(D, N, M, bias=biased, out_bias=biased).double().requires_grad_(False)
    for place, parameter in enumerate(layer.parameters()):
        parameter.data = noise(50 + place, *parameter.shape) / parameter.shape[-1] ** 0.5
    x = noise(3, T, D) + torch.linspace(-1, 1, D, dtype=torch.float64)
    inputs = autoencoder(1, D, P, x, **first)
    outputs = autoencoder(2, M, Q, layer(x), **second)
    return compose(inputs, layer, outputs), layer, x


def layer_forms(layer: GatedLayer) -> Tensor:
    """(M, D+1, D+1): the outputs as forms of [x; 1], from the definition."""
    tensor = layer.tensor()
    forms = written_out.matrices(tensor)
    missing = D + 1 - forms.shape[1]
    return torch.nn.functional.pad(forms, (0, missing, 0, missing))


def whole(model: BilinearAutoencoder) -> float:
    return float(model.transform.mean_norm) if model.config.norm == "constant" else 1.0


def input_forms(made: Composition, layer: GatedLayer) -> Tensor:
    """(M or M+1, D+1, D+1): what v is of [u; 1], by substituting x = σνu + μ."""
    first, second = made.inputs, made.outputs
    change = torch.zeros(D + 1, D + 1, dtype=torch.float64)
    change[:D, :D] = torch.diag(first.transform.scales * whole(first))
    change[:D, D], change[D, D] = first.transform.mean, 1
    forms = torch.einsum("pa,mpq,qb->mab", change, layer_forms(layer), change)
    forms[:, D, D] -= second.transform.mean
    forms = forms / (second.transform.scales * whole(second))[:, None, None]
    if second.config.affine:
        one = torch.zeros(1, D + 1, D + 1, dtype=torch.float64)
        one[0, D, D] = 1
        forms = torch.cat([forms, one])
    return forms


def padded_atoms(model: BilinearAutoencoder) -> Tensor:
    """(n, D+1, D+1), symmetric, with a zero corner."""
    atoms = oracle.atoms(model)
    atoms = 0.5 * (atoms + atoms.mT)
    missing = D + 1 - atoms.shape[1]
    atoms = torch.nn.functional.pad(atoms, (0, missing, 0, missing)).clone()
    atoms[:, D, D] = 0
    return atoms


def decoded_forms(model: BilinearAutoencoder) -> Tensor:
    """(p, D+1, D+1): what a latent adds to the reconstruction, by asking for its coefficients."""
    units = torch.eye(model.d_sae, dtype=torch.float64)
    coefficients = torch.stack([model.mixing.coefficients(unit) for unit in units])
    return torch.einsum("pn,nab->pab", coefficients, padded_atoms(model))


@pytest.mark.parametrize("name", CASES)
def test_the_parts_sum_to_the_latents_of_the_layer(name: str) -> None:
    found, layer, x = made(name)
    latents = found.outputs.encode(layer(x))
    account = found.account(x)
    assert close(sum(account), latents, 1e-9)
    assert close(account.pairs + account.linear + account.constant, found.predict(x), 1e-9)
    assert account.error.abs().max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_the_readout_is_the_layer_on_the_reconstruction(name: str) -> None:
    found, layer, x = made(name)
    forms = input_forms(found, layer)
    u = found.lifted(x)
    assert close(written_out.values(forms, u), found.forms(u), 1e-9)
    # Û: the autoencoder's own reconstruction of one token, its corner set to 1.
    model = found.inputs
    for row in range(3):
        estimate = oracle.reconstruction(model, x[row])
        if model.config.norm == "unit":
            estimate = estimate * (u[row, :D] @ u[row, :D])
        missing = D + 1 - len(estimate)
        estimate = torch.nn.functional.pad(estimate, (0, missing, 0, missing)).clone()
        estimate[D, D] = 1
        read = torch.einsum("mab,ab->m", forms, estimate)
        expected = read_latents(found.outputs, read)
        if found.outputs.config.norm == "unit":
            v = torch.einsum("mab,a,b->m", forms, u[row], u[row])
            expected = expected / (v @ v)
        assert close(found.predict(x[row : row + 1])[0], expected, 1e-9)


def read_latents(model: BilinearAutoencoder, v: Tensor) -> Tensor:
    products = torch.stack(
        [(a @ v) * (b @ v) for a, b in zip(model.left, model.right, strict=True)]
    )
    mixed = oracle.mixing_matrix(model) if model.config.variant == "composite" else None
    return products if mixed is None else mixed @ products


@pytest.mark.parametrize("name", CASES)
def test_one_latent_is_a_quartic_and_a_form_of_the_input_latents(name: str) -> None:
    found, layer, x = made(name)
    values = found.outputs.encode(layer(x)) * found.divisor(x)
    predicted = found.predict(x) * found.divisor(x)
    codes = torch.cat([found.codes(x), torch.ones(T, 1, dtype=torch.float64)], dim=1)
    for number in (0, Q - 1):
        latent = found.latent(number)
        assert close(latent(found.lifted(x)), values[:, number], 1e-9)
        assert close(latent.on_latents(codes)[:, 0], predicted[:, number], 1e-9)
        forms, read = decoded_forms(found.inputs), written_out.matrices(latent.left)
        assert close(torch.einsum("sab,pab->sp", read, forms), latent.left_weights[:, :-1], 1e-9)
        assert close(read[:, D, D], latent.left_weights[:, -1], 1e-9)
    with pytest.raises(QuadricError, match=f"latent {Q} is out of range"):
        found.latent(Q)


@pytest.mark.parametrize("name", ["plain", "composite", "mixed"])
def test_the_spectrum_is_that_of_the_operator_on_matrices(name: str) -> None:
    found, _, x = made(name)
    latent = found.latent(2)
    left, right = (written_out.matrices(one).flatten(1) for one in (latent.left, latent.right))
    operator = sum(torch.outer(a, b) + torch.outer(b, a) for a, b in zip(left, right, strict=True))
    spectrum = latent.spectrum()
    count = len(spectrum.values)
    assert count <= 2 * len(left)
    values = torch.linalg.eigvalsh(operator / 2)
    values = values[values.abs().argsort(descending=True)]
    assert close(spectrum.values, values[:count], 1e-8)
    assert values[count:].abs().max() < 1e-10 * values[0].abs()
    gram = spectrum.forms.gram()
    assert close(gram, torch.eye(count, dtype=torch.float64), 1e-8)
    u = found.lifted(x)
    assert close((spectrum.forms(u).square() * spectrum.values).sum(1), latent(u), 1e-8)


def test_a_square_has_one_eigenvalue() -> None:
    found, _, _ = made("plain")
    latent = found.latent(0)
    squared = type(latent)(latent.left, latent.left, latent.left_weights, latent.left_weights)
    spectrum = squared.spectrum()
    assert len(spectrum.values) == 1
    assert close(spectrum.values[0], latent.left.gram()[0, 0], 1e-9)


@pytest.mark.parametrize("name", CASES)
def test_overlaps_written_out(name: str) -> None:
    found, _, _ = made(name)
    latent = found.latent(1)
    turn = rotation(found.forms, 5)
    assert close(turn.mT @ turn, torch.eye(D + 1, dtype=torch.float64), 1e-12)
    assert turn[D, D] == 1
    for given, change in ((None, torch.eye(D + 1, dtype=torch.float64)), (turn, turn)):
        overlap = latent.overlap(found.dictionary, given)
        read = written_out.matrices(latent.forms)
        read = torch.einsum("pa,mpq,qb->mab", change, read, change)
        read[:, D, D] = 0
        read = read.flatten(1)
        forms, atoms = decoded_forms(found.inputs).flatten(1), padded_atoms(found.inputs)
        block = found.inputs.config.block or 1
        encoding = atoms.flatten(1).reshape(P, block, -1).sum(1)
        cosines = torch.nn.functional.normalize(read) @ torch.nn.functional.normalize(forms).mT
        assert close(overlap.cosines, cosines, 1e-8)
        basis, sizes, _ = torch.linalg.svd(forms.mT, full_matrices=False)
        basis = basis[:, sizes > 1e-8 * sizes[0]]
        share = (read @ basis).square().sum(1) / read.square().sum(1)
        assert close(overlap.span, share, 1e-7)
        replaced = (read @ forms.mT) @ encoding  # PQ
        kept = 1 - (read - replaced).square().sum(1) / read.square().sum(1)
        assert close(overlap.kept, kept, 1e-8)
        column = read.reshape(-1, D + 1, D + 1)[:, :D, D]
        linear = 2 * column.square().sum(1) / read.square().sum(1)
        assert (overlap.linear - linear).abs().max() < 1e-9
    # A form of the dictionary itself lies inside it.
    own = decoded_forms(found.inputs)
    assert close(found.dictionary.decoder_gram, torch.einsum("iab,jab->ij", own, own), 1e-9)


def test_a_dictionary_that_knows_all_forms_leaves_no_error() -> None:
    layer = GatedLayer(D, N, M).double().requires_grad_(False)
    x = noise(4, T, D)
    pairs = [(i, j) for i in range(D) for j in range(i, D)]
    inputs = autoencoder(1, D, len(pairs), x, **PLAIN)
    unit = torch.eye(D, dtype=torch.float64)
    for row, (i, j) in enumerate(pairs):
        inputs.left[row], inputs.right[row] = unit[i], unit[j] * (1 if i == j else 2**0.5)
    outputs = autoencoder(2, M, Q, layer(x), **PLAIN)
    found = compose(inputs, layer, outputs)
    latents = outputs.encode(layer(x))
    assert close(found.predict(x), latents, 1e-9)
    overlap = found.latent(3).overlap(found.dictionary)
    for share in (overlap.span, overlap.kept):
        assert close(share, torch.ones(2, dtype=torch.float64), 1e-9)
    result = explained(latents, found.predict(x))
    assert close(result.r2, torch.ones(Q, dtype=torch.float64), 1e-9)
    # Rotated, the same dictionary does not belong to the layer any more.
    wrong = found.null(1)
    assert explained(latents, wrong.predict(x)).r2.max() < 0.9
    assert close(sum(wrong.account(x)), latents, 1e-9)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", ["affine", "composite"])
def test_top_pairs_are_the_largest_entries(
    name: str, scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadric.forms.blocks.BLOCK_ENTRIES", 25)  # several blocks
    found, _, x = made(name)
    codes = found.codes(x)
    scales = codes.square().mean(0).sqrt() if scaled else None
    latent = found.latent(4)
    matrix = latent.on_latents.interaction(torch.ones(1, dtype=torch.float64))
    size = torch.ones(P + 1, dtype=torch.float64)
    if scales is not None:
        size[:-1] = scales
    entries = {
        (i, j): float(matrix[i, j]) * (1 if i == j else 2)
        for i in range(P + 1)
        for j in range(i, P + 1)
        if i < P
    }
    order = sorted(entries, key=lambda ij: -abs(entries[ij] * float(size[ij[0]] * size[ij[1]])))
    pairs = latent.top_pairs(7, scales)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == order[:7]
    assert pairs.weights.tolist() == pytest.approx([entries[ij] for ij in order[:7]])
    every = latent.top_pairs(10_000, scales)
    assert len(every.weights) == len(entries)
    total = every.contributions(codes).sum(1) + matrix[P, P]
    assert close(total, (found.predict(x) * found.divisor(x))[:, 4], 1e-9)


def test_explained_is_of_the_numbers_themselves() -> None:
    y = noise(1, 30, 3)
    result = explained(y, 2 * y + 1)
    assert close(result.pearson, torch.ones(3, dtype=torch.float64))
    expected = 1 - (y + 1).square().sum(0) / (y - y.mean(0)).square().sum(0)
    assert close(result.r2, expected)
    flat = explained(torch.ones(5, 1), noise(2, 5, 1))
    assert flat.r2.isnan().all() and flat.pearson.isnan().all()
    with pytest.raises(QuadricError, match="expected the same"):
        explained(y, y[:2])


def test_refusals() -> None:
    found, layer, x = made("plain")
    inputs, outputs = found.inputs, found.outputs
    gated = GatedLayer(D, N, M, gate="silu").double()
    with pytest.raises(QuadricError, match="not bilinear"):
        compose(inputs, gated, outputs)
    with pytest.raises(QuadricError, match=f"input autoencoder has d_in {M}.*width {D}"):
        compose(outputs, layer, outputs)
    with pytest.raises(QuadricError, match=f"output autoencoder has d_in {D}.*width {M}"):
        compose(inputs, layer, inputs)
    for side, pair in (("input", (0, 1)), ("output", (1, 0))):
        models = [inputs, outputs]
        wrong = autoencoder(3, models[pair[0]].d_in, P, noise(1, 9, models[pair[0]].d_in),
                            affine=True, norm="unit")  # fmt: skip
        models[pair[0]] = wrong
        with pytest.raises(QuadricError, match=f"{side} autoencoder is affine with norm='unit'"):
            compose(models[0], layer, models[1])
    broken = GatedLayer(D, N, M).double().requires_grad_(False)
    broken.left.weight[0, 0] = torch.nan
    with pytest.raises(QuadricError, match="left matrix holds NaN"):
        compose(inputs, broken, outputs)
    for call in (found.codes, found.account, found.predict, found.lifted):
        with pytest.raises(QuadricError, match=r"x has shape \(40, 4\)"):
            call(x[:, :4])
    latent = found.latent(0)
    with pytest.raises(QuadricError, match="count is 0"):
        latent.top_pairs(0)
    with pytest.raises(QuadricError, match=r"scales have shape \(3,\)"):
        latent.top_pairs(2, torch.ones(3))


def test_the_given_autoencoders_stay_as_they_are() -> None:
    _, layer, x = made("plain")
    inputs = autoencoder(1, D, P, x, **PLAIN).float()
    outputs = autoencoder(2, M, Q, layer(x), **PLAIN).float()
    found = compose(inputs, layer, outputs)
    assert inputs.dtype == outputs.dtype == torch.float32
    assert found.account(x.float()).pairs.dtype == torch.float64
