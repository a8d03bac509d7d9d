from vgan.data.batches.split import choose_sides, named_groups, side_of, side_value


def groups(num, labels=("a",)):
    return {f"group-{index}": {labels[index % len(labels)]} for index in range(num)}


def known(num):
    """So many groups that have a side already, so that nothing is ensured."""
    return {f"known-{index}": {"heldout" if index % 5 == 0 else "train"} for index in range(num)}


def test_a_side_depends_on_the_group_alone():
    small = choose_sides(groups(100), 0.2, known=known(10))
    large = choose_sides(groups(1000), 0.2, known=known(10))
    assert {group: large[group] for group in small} == small
    assert all(side == side_of(group, 0.2) for group, side in large.items())
    share = sum(side == "heldout" for side in large.values()) / 1000
    assert 0.15 < share < 0.25


def test_a_larger_share_only_adds_to_what_is_held_out():
    chosen = [
        {group for group, side in choose_sides(groups(200), share, known=known(5)).items() if side == "heldout"}
        for share in (0.1, 0.2, 0.5)
    ]
    assert chosen[0] < chosen[1] < chosen[2]


def test_small_sets_hold_out_some_of_each_label_and_keep_some_of_each():
    for num in range(2, 20):
        labels_of = groups(num, labels=("a", "b"))
        sides = choose_sides(labels_of, 0.2, known={})
        for label in ("a", "b"):
            of_label = [sides[group] for group in labels_of if label in labels_of[group]]
            if len(of_label) > 1:
                assert set(of_label) == {"train", "heldout"}
        assert set(sides.values()) == {"train", "heldout"}


def test_a_single_group_trains_or_keeps_its_side():
    assert set(choose_sides(groups(1), 0.5, known={}).values()) == {"train"}
    assert choose_sides({"one": set()}, 0.5, known={"one": {"heldout"}}) == {"one": "heldout"}


def test_a_known_side_is_kept():
    lowest, highest = min(groups(50), key=side_value), max(groups(50), key=side_value)
    sides = choose_sides(groups(50), 0.2, known={lowest: {"train"}, highest: {"heldout"}, "gone": {"train"}})
    assert (sides[lowest], sides[highest]) == ("train", "heldout")
    assert "gone" not in sides


def test_a_group_that_joins_both_sides_trains():
    lowest = min(groups(50), key=side_value)
    sides = choose_sides(groups(50), 0.2, known={lowest: {"heldout", "train"}, "group-1": {"heldout"}})
    assert (sides[lowest], sides["group-1"]) == ("train", "heldout")


def test_when_all_that_was_held_out_has_gone_new_groups_take_its_place():
    labels_of = groups(10)
    trained = {group: {"train"} for group in list(labels_of)[:9]}
    sides = choose_sides(labels_of, 0.01, known=trained)
    assert [group for group, side in sides.items() if side == "heldout"] == ["group-9"]
    sides = choose_sides(labels_of, 0.01, known={group: {"train"} for group in labels_of})
    assert list(sides.values()).count("heldout") == 1, "with no new ones, one that was trained on"
    sides = choose_sides(labels_of, 0.01, known={group: {"heldout"} for group in labels_of})
    assert list(sides.values()).count("train") == 1, "and something must be left to train on"


def test_groups_are_named_by_any_path():
    assert named_groups(["walk/person3_07.mp4"], r"person\d+") == ("by:person3",)
    assert named_groups(["walk/person3_07.mp4", "b/person4_1.mp4"], r"(person\d+)_") == ("by:person3", "by:person4")
    assert named_groups(["walk/person3.mp4", "person3.mp4"], r"dog|(person\d+)") == ("by:person3",)
    assert named_groups(["walk/dog.mp4"], r"person\d+") == ()
    assert named_groups(["walk/dog.mp4"], None) == ()
