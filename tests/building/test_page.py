"""The page of a build in a real browser: nothing overflows, and every figure of it is there."""

import re
from dataclasses import replace

import pytest

from tango_beam.building.page import render
from tango_beam.building.result import Asked, Built, Disagreement, Offer, Steadiness, TierShare
from tango_beam.guarantees.certificate import ClassAgreement, Guarantee
from tests.browser import DARK, brightness

HOSTILE = "<script>document.title = 'broken'</script> $title & a_very_long_word_" + "x" * 300
CHAIN = ("static", "bilstm", "second tier")


def offer(tiers, agreement, speedup):
    return Offer(tiers, agreement, escalated=0.2, speedup=speedup)


PAYS = Built(
    name="mine",
    made="2026-01-01T00:00:00+00:00",
    command="python -m pipelines.build --input corpus",
    input=("corpus/*.parquet",),
    output="mine",
    corpus=123_456,
    parts={"train": 3000, "choose": 750, "sign": 1000},
    pays=True,
    why="static > bilstm > second tier costs 19.1% of second tier alone a row",
    signed=(Guarantee("agreement", 0.95, 0.05, (0.9, 0.8), 1000, 36, 0.953, True, "binomial"),),
    tiers=(
        TierShare("static", "mean of embeddings", 0.9012, 0.61, 2e-6, 0.05),
        TierShare("bilstm", HOSTILE, 0.8123, 0.22, 3e-5, 0.15),
        TierShare("second tier", "judge", None, 0.17, 2e-3, 0.8),
    ),
    agreement=0.9640,
    escalated=0.17,
    speedup=5.2,
    seconds=(4e-4, 2e-3),
    front=(offer(CHAIN, 0.9, 9.0), offer(CHAIN, 0.95, 6.0), offer(CHAIN, 0.99, 2.5)),
    offers=(offer(CHAIN, 0.96, 5.6), offer(CHAIN[1:], 0.96, 4.9)),
    classes=(
        ClassAgreement(HOSTILE, 400, 20, 0.95, (0.92, 0.97), 300),
        ClassAgreement("refund", 600, 16, 0.9733, (0.95, 0.98), 500),
    ),
    asked=Asked(4750, 0.2, 4800, 500_000, 20_000, 0.5, 1.5),
    disagreements=(
        Disagreement(
            (HOSTILE,),
            (("static", "refund", 0.95), ("bilstm", "card", 0.7), ("judge", "card", 1.0)),
            answered_by=1,
        ),
    ),
    steadiness=Steadiness(rows=200, same=196, bound=0.954),
    minutes=12.3,
    machine={"processor": "a processor", "cores": 2, "precision": "bf16"},
)
ALONE = replace(
    PAYS,
    pays=False,
    signed=(),
    why="the students are too slow",
    tiers=PAYS.tiers[2:],
    classes=(),
    disagreements=(),
    steadiness=None,
)


@pytest.fixture
def page(tmp_path):
    def write(built):
        path = tmp_path / "report.html"
        path.write_text(render(built), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("built", [PAYS, ALONE], ids=["pays", "does_not"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_the_curve_is_drawn(page, probe, built, width):
    found = probe(page(built), "--window-size=1400,3000", width=width)
    assert found["width"] == width
    assert found["page"] <= width
    assert found["requests"] == 0
    (curve,) = found["figures"].values()
    assert 300 < curve["width"] <= width
    assert curve["height"] > 120
    assert curve["drawn"] >= 5


def test_it_follows_the_readers_theme(page, probe):
    light, dark = (probe(page(PAYS), *options) for options in ((), (DARK,)))
    assert brightness(light["background"]) > 600 > 300 > brightness(light["ink"])
    assert brightness(dark["background"]) < 150 < 500 < brightness(dark["ink"])
    strokes = [set(one["figures"]["drawing"]["strokes"]) - {"none"} for one in (light, dark)]
    assert strokes[0] and not strokes[0] & strokes[1]


def test_texts_and_labels_cannot_break_it(page, browse):
    dom, complaints = browse(page(PAYS), "--dump-dom")
    assert not complaints
    assert re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1] == "Cascade mine"
    assert "<script>document" not in dom
    assert "$title &amp; a_very" in dom


def test_every_figure_is_in_it():
    html = render(PAYS)
    shown = (
        *("36 of 1,000 rows", "5.20 x", "17.0%", "96.40%", "0.9012", "61.0%", "97.33%"),
        *("123,456", "3,000 to train", "4,800 times", "196 of 200 rows", "12.3 minutes"),
        # What a hundred million rows take: 0.17 of the calls, and of 28,000 calls' price each.
        *("17,000,000", "100,000,000", f"{1e8 * 0.28 / 4800:,.2f}", f"{1.7e7 * 0.28 / 4800:,.2f}"),
        "--cascade mine --output out_audited --audit_rows 2000",
        *("1,000 rows that signed", "750 rows that chose", "123,456 (yours)"),
        "We are 95 % sure that on at least 95 % of all rows the cascade gives",
        "rows that nobody had looked at have another answer than the second tier&#x27;s",
        "next month's files, want a promise of their own",
    )
    assert [one for one in shown if one not in html] == []
    alone = render(ALONE)
    assert "No cascade pays here" in alone and "The students are too slow" in alone
    assert "--audit_rows" not in alone


def test_commands_have_outputs_of_their_own_and_stand_above_long_texts():
    html = render(PAYS)
    outputs = re.findall(r"--output (\S+)", html[html.index("To go on") :])
    assert len({*outputs}) == len(outputs) == 3
    assert html.index("To go on") < html.index("Where the tiers disagree")


def test_a_corpus_that_was_answered_whole_is_told_so():
    said = "the second tier has answered the whole of it"
    assert said not in render(PAYS)
    assert said in render(replace(PAYS, corpus=4750))
