"""Typing, composing and steering: answers beside the formulas, and beside the atlas's own pages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quadric.activations.capture import capture
from quadric.activations.hooks import resolve
from quadric.activations.models import load_model
from quadric.atlas.folder.reader import AtlasFolder
from quadric.forms import lift
from quadric.runs.steer import steer_run
from tests.activations.tiny import tiny_tokenizer
from tests.atlas.serving import Client
from tests.atlas.tiny_run import CONTEXT, GROUP, HOOK, TinyRun


def dense(tiny: TinyRun, weights: dict[int, float]) -> np.ndarray:
    """Σ w_k Q_k as a matrix on the maybe lifted input, in float64."""
    forms = tiny.model.tensor(list(weights)).to(dtype=torch.float64)
    return forms.interaction(torch.tensor(list(weights.values())).double()).numpy()


def values(tiny: TinyRun, weights: dict[int, float], x: torch.Tensor) -> np.ndarray:
    y = tiny.model.transform.apply_to(x).y.double()
    y = lift(y) if tiny.model.config.affine else y
    return np.einsum("ni,ij,nj->n", y.numpy(), dense(tiny, weights), y.numpy())


def stored_text(tiny: TinyRun, context: int) -> str:
    rows = torch.arange(CONTEXT) + context * CONTEXT
    return tiny_tokenizer().decode(tiny.store.token_ids(rows))


@pytest.mark.parametrize("form", [0, 5, 2, GROUP])
def test_a_stored_text_falls_on_the_points_of_the_page(
    tiny: TinyRun, client: Client, form: int
) -> None:
    page = AtlasFolder(tiny.atlas).page_of(form)
    compared = 0
    for context in {row // CONTEXT for row in page.rows.tolist()}:
        text = stored_text(tiny, context)
        answer = client.post("/api/encode", {"text": text, "id": form}).json
        assert "".join(answer["tokens"]) == text and len(answer["tokens"]) == CONTEXT
        path = answer["path"]
        for place, row in enumerate(page.rows.tolist()):
            if row // CONTEXT == context:
                there = page.points.coordinates[place]
                here = np.array(path["coordinates"][row % CONTEXT])
                bound = 1e-4 * abs(page.points.coordinates).max()
                assert here == pytest.approx(there, abs=bound)
                value = path["values"][row % CONTEXT]
                bound = 1e-4 * abs(page.points.value).max()
                assert value == pytest.approx(page.points.value[place], abs=bound)
                compared += 1
    assert compared == 20


def test_the_strongest_latents_of_every_token(tiny: TinyRun, client: Client) -> None:
    text = "Monday, the moon"
    answer = client.post("/api/encode", {"text": text, "id": None, "axes_of": "form"}).json
    assert answer["path"] is None
    language = load_model(str(tiny.model.metadata.model_name), dtype=torch.float32, device="cpu")
    hooks = resolve(language.model, [HOOK])
    ids = torch.tensor(language.tokenizer(text)["input_ids"])
    x = capture(language.model, hooks, ids[None])[HOOK][0]
    known = {0: "label 0", 5: "written", 2: "label 2"}
    for token, listed in enumerate(answer["top"]):
        expected = {latent: values(tiny, {latent: 1.0}, x)[token] for latent in range(8)}
        assert len(listed) == 8
        for one in listed:
            assert one["value"] == pytest.approx(expected[one["id"]], rel=1e-3, abs=1e-5)
            assert one["label"] == known.get(one["id"], "")
        strengths = [abs(one["value"]) for one in listed]
        assert strengths == sorted(strengths, reverse=True)


@pytest.mark.parametrize(
    ("members", "weights"),
    [
        ({0: 1.0}, {0: 1.0}),
        ({0: 1.0, 2: -0.75}, {0: 1.0, 2: -0.75}),
        ({0: 0.5, GROUP: -2.0, 5: 1.0}, {0: 0.5, 1: -2.0, 4: 1.0, 6: -4.0, 5: 1.0}),
    ],
)
def test_a_composed_form_is_the_weighted_sum(
    tiny: TinyRun, client: Client, members: dict[int, float], weights: dict[int, float]
) -> None:
    asked = [{"id": latent, "weight": weight} for latent, weight in members.items()]
    answer = client.post("/api/compose", {"members": asked, "points": 50}).json
    atlas = AtlasFolder(tiny.atlas)
    union = {row for latent in members for row in atlas.page_of(latent).rows.tolist()}
    rows = answer["row"]
    assert len(rows) == len(set(rows)) == min(50, len(union)) and set(rows) <= union
    x = tiny.store.gather(torch.tensor(rows))
    y = tiny.model.transform.apply_to(x).y.double().numpy()
    expected = values(tiny, weights, x)
    size = abs(expected).max()
    assert answer["value"] == pytest.approx(expected, abs=1e-4 * size)
    matrix = dense(tiny, weights)
    quadratic = matrix[:12, :12]
    spectrum = np.linalg.eigvalsh(quadratic)
    spectrum = spectrum[np.argsort(-abs(spectrum))]
    count = len(answer["spectrum"])
    assert answer["spectrum"] == pytest.approx(spectrum[:count], abs=1e-4 * abs(spectrum[0]))
    assert abs(spectrum[count:]).max(initial=0) < 1e-6
    r = answer["axes"]
    coordinates = np.array(answer["coordinates"])
    assert coordinates.shape == (r, len(rows)) and r >= 3
    assert len(answer["axis_kind"]) == len(answer["linear"]) == r
    form = np.array(answer["form"]).reshape(r, r)
    bent = [i for i, kind in enumerate(answer["axis_kind"]) if kind == "eigenvector"]
    assert form == pytest.approx(
        np.diag(np.pad(spectrum[: len(bent)], (0, r - len(bent)))), abs=1e-4
    )
    # Along an eigenvector the coordinate is v·y, up to the sign of v.
    _, vectors = np.linalg.eigh(quadratic)
    order = np.argsort(-abs(np.linalg.eigvalsh(quadratic)))
    for axis in bent[:3]:
        along = y @ vectors[:, order[axis]]
        assert abs(coordinates[axis]) == pytest.approx(abs(along), abs=1e-3)
    if len(spectrum[abs(spectrum) > 1e-6]) <= 8:
        p = coordinates.T
        linear = np.array(answer["linear"])
        held = np.einsum("ni,ij,nj->n", p, form, p) + p @ linear + answer["constant"]
        beside = 2 * y @ matrix[:12, 12] - p @ linear if tiny.model.config.affine else 0.0
        assert held + beside == pytest.approx(expected, abs=1e-3 * size)
    tokens = [
        tiny_tokenizer().decode([token]) for token in tiny.store.token_ids(torch.tensor(rows))
    ]
    assert answer["tokens"] == tokens
    assert answer["quadric"]


def test_a_composed_form_of_one_latent_is_that_latent(tiny: TinyRun, client: Client) -> None:
    page = AtlasFolder(tiny.atlas).page_of(5)
    asked = {"members": [{"id": 5, "weight": 1}], "points": 2048}
    answer = client.post("/api/compose", asked).json
    assert answer["row"] == page.rows.tolist()
    bound = 1e-4 * abs(page.points.coordinates).max()
    found = np.array(answer["coordinates"]).T
    assert found == pytest.approx(page.points.coordinates, abs=bound)
    assert answer["axis_kind"] == list(page.points.axis_kind)
    assert np.array(answer["linear"]) == pytest.approx(page.points.linear, abs=1e-5)
    assert answer["constant"] == pytest.approx(page.points.constant, abs=1e-6)


def test_every_member_gets_its_share_of_the_points(tiny: TinyRun, client: Client) -> None:
    asked = {"members": [{"id": 0, "weight": 1}, {"id": 2, "weight": 1}], "points": 10}
    rows = client.post("/api/compose", asked).json["row"]
    atlas = AtlasFolder(tiny.atlas)
    first, second = (atlas.page_of(latent).rows.tolist() for latent in (0, 2))
    taken = list(dict.fromkeys(row for pair in zip(first, second, strict=True) for row in pair))
    assert rows == taken[:10]


@pytest.mark.parametrize(("along", "amount"), [("gradient", 0.4), ("level set", -50.0)])
def test_steering_is_what_the_command_says(
    tiny: TinyRun, client: Client, along: str, amount: float
) -> None:
    text, position = "On Sunday", -3
    form = 0
    count = len(latent_axes(tiny, form))
    asked = {"text": text, "id": form, "position": position, "along": along, "amount": amount,
             "axes": [1, 2]}  # fmt: skip
    answer = client.post("/api/steer", asked).json
    moved = {"amounts": [amount], "angles": []} if along == "gradient" else {
        "amounts": [], "angles": [amount]}  # fmt: skip
    view = steer_run(tiny.run, form, text, axes=(1, 2), position=position, **moved)
    (step,) = view.steps
    assert answer["tokens"] == view.tokens and answer["position"] == view.position == 6
    for name in ("value_before", "value_after", "moved", "kl"):
        assert answer[name] == pytest.approx(getattr(step, name), rel=1e-4, abs=1e-9), name
    assert answer["turned"] == pytest.approx(step.turned or 0.0, rel=1e-4)
    assert answer["kl"] > 0
    for side in ("rising", "falling"):
        listed = [vars(change) for change in getattr(step, side)]
        assert [one["token"] for one in answer[side]] == [one["token"] for one in listed]
        for name in ("logit", "before", "after"):
            assert answer[side][0][name] == pytest.approx(listed[0][name], rel=1e-3)
    path = client.post("/api/encode", {"text": text, "id": form}).json["path"]
    assert answer["coordinates_before"] == pytest.approx(path["coordinates"][6], abs=1e-6)
    assert len(answer["coordinates_after"]) == len(path["coordinates"][6]) >= count
    assert answer["coordinates_after"] != answer["coordinates_before"]
    if along == "level set":
        assert answer["value_after"] == pytest.approx(answer["value_before"], rel=1e-3, abs=1e-6)


def latent_axes(tiny: TinyRun, latent: int) -> list[float]:
    spectrum = np.linalg.eigvalsh(dense(tiny, {latent: 1.0})[:12, :12])
    return [value for value in spectrum if abs(value) > 1e-5]


def test_a_group_is_steered_in_the_plane_of_its_page(client: Client) -> None:
    asked = {"text": "On Friday", "id": GROUP, "along": "level set", "amount": 30}
    answer = client.post("/api/steer", asked).json
    assert answer["value_after"] == pytest.approx(answer["value_before"], rel=1e-3, abs=1e-5)
    before, after = answer["coordinates_before"], answer["coordinates_after"]
    turn = np.arctan2(after[2], after[1]) - np.arctan2(before[2], before[1])
    turned = (np.degrees(turn) + 180) % 360 - 180
    assert turned == pytest.approx(answer["turned"], abs=0.01) and turned > 5
    path = client.post("/api/encode", {"text": "On Friday", "id": GROUP}).json["path"]
    assert answer["value_before"] == pytest.approx(path["values"][-1], rel=1e-3, abs=1e-6)
    other = client.post("/api/steer", {**asked, "axes": [1, 3]}).json
    assert other["coordinates_after"] != after
