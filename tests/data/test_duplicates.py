import numpy as np
import pytest

from vgan.data.decoding.fingerprint import BYTES, GREYS, mirrored
from vgan.data.versions.duplicates import Members, find_groups


def pictures(num, seed=0):
    """Fingerprints of videos that have nothing in common: uint8 [num, 544]."""
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(num, 8, 8, 8)).cumsum(1).cumsum(2).cumsum(3).reshape(num, -1)
    volume = 128 + 40 * (volume - volume.mean(1, keepdims=True)) / volume.std(1, keepdims=True)
    values_NF = np.empty((num, BYTES), np.uint8)
    values_NF[:, :GREYS] = np.clip(volume, 0, 255)
    values_NF[:, GREYS:] = 128 + rng.integers(-20, 21, (num, BYTES - GREYS))
    return values_NF


def noisy(values_NF, seed=1, level=3):
    noise = np.random.default_rng(seed).normal(0, level, values_NF.shape)
    return np.clip(values_NF + noise, 0, 255).astype(np.uint8)


def members(values_NF, **given):
    num = len(values_NF)
    return Members(
        digests=given.get("digests", [f"{place:064x}" for place in range(num)]),
        contents=given.get("contents", [f"content-{place:04}" for place in range(num)]),
        named=given.get("named", [()] * num),
        values_NF=values_NF,
        seconds_N=given.get("seconds", np.full(num, 10, np.float32)),
    )


def test_copies_among_many_are_found_mirrored_ones_too():
    base = pictures(2000)
    values_NF = np.concatenate([base, noisy(base[:100]), mirrored(noisy(base[100:200], seed=2))])
    found = find_groups(members(values_NF))
    for copy in range(200):
        assert found.names[2000 + copy] == found.names[copy] == f"content-{copy:04}"
    assert len(set(found.names)) == 2000
    assert found.near_N.tolist() == [True] * 200 + [False] * 1800 + [True] * 200


def test_nothing_in_common_makes_no_group():
    found = find_groups(members(pictures(1000)))
    assert len(set(found.names)) == 1000 and not found.near_N.any()


def test_the_order_of_the_videos_does_not_matter():
    base = pictures(300)
    values_NF = np.concatenate([base, noisy(base[:50], level=8), noisy(base[:50], seed=3, level=8)])
    given = members(values_NF, named=[(f"by:{place % 70}",) if place % 3 == 0 else () for place in range(400)])
    expected = find_groups(given)
    order = np.random.default_rng(4).permutation(400)
    shuffled = find_groups(
        Members(
            digests=[given.digests[place] for place in order],
            contents=[given.contents[place] for place in order],
            named=[given.named[place] for place in order],
            values_NF=values_NF[order],
            seconds_N=given.seconds_N[order],
        )
    )
    assert shuffled.names == [expected.names[place] for place in order]
    assert shuffled.near_N.tolist() == expected.near_N[order].tolist()


def test_equal_content_names_and_looks_join_through_each_other():
    base = pictures(3)
    values_NF = np.concatenate([base, noisy(base[:1])])
    found = find_groups(members(values_NF, contents=["d", "b", "b", "c"], named=[(), ("by:x",), (), ("by:y",)]))
    # 0 looks like 3; 1 and 2 have one content.
    assert found.names == ["by:y", "b", "b", "by:y"]
    assert found.near_N.tolist() == [True, False, False, True]
    joined = find_groups(members(values_NF, contents=["d", "b", "b", "c"], named=[(), ("by:y",), (), ("by:y",)]))
    assert set(joined.names) == {"b"}


def test_another_length_or_brightness_is_another_video():
    base = pictures(1)
    values_NF = np.concatenate([base, noisy(base)])
    assert find_groups(members(values_NF)).near_N.all()
    assert not find_groups(members(values_NF, seconds=np.asarray([10, 12], np.float32))).near_N.any()
    darker = values_NF.copy()
    darker[1, :GREYS] -= np.minimum(darker[1, :GREYS], 30)
    assert not find_groups(members(darker)).near_N.any()


def test_very_many_equal_videos_make_one_group():
    values_NF = noisy(np.repeat(pictures(1), 3000, axis=0), level=2)
    found = find_groups(members(values_NF))
    assert set(found.names) == {"content-0000"} and found.near_N.all()


@pytest.mark.parametrize("num", [0, 1])
def test_few_videos_are_no_problem(num):
    found = find_groups(members(pictures(1)[:num]))
    assert len(found.names) == num and not found.near_N.any()
