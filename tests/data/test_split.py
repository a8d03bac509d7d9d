from vgan.data.split import group_of, side_value, split_groups


def groups(num, labels=("a",)):
    return {f"group-{index}": {labels[index % len(labels)]} for index in range(num)}


def test_a_side_depends_on_the_group_alone():
    small = split_groups(groups(100), 0.2, known={}, ensure=False)
    large = split_groups(groups(1000), 0.2, known={}, ensure=False)
    assert {group: large[group] for group in small} == small
    share = sum(side == "heldout" for side in large.values()) / 1000
    assert 0.15 < share < 0.25


def test_a_larger_share_only_adds_to_what_is_held_out():
    chosen = [
        {group for group, side in split_groups(groups(200), share, known={}, ensure=False).items() if side == "heldout"}
        for share in (0.1, 0.2, 0.5)
    ]
    assert chosen[0] < chosen[1] < chosen[2]


def test_small_sets_hold_out_some_of_each_label_and_keep_some_of_each():
    for num in range(2, 20):
        labels_of = groups(num, labels=("a", "b"))
        sides = split_groups(labels_of, 0.2, known={}, ensure=True)
        for label in ("a", "b"):
            of_label = [sides[group] for group in labels_of if label in labels_of[group]]
            if len(of_label) > 1:
                assert set(of_label) == {"train", "heldout"}
        assert set(sides.values()) == {"train", "heldout"}


def test_a_single_group_trains():
    assert set(split_groups(groups(1), 0.5, known={}, ensure=True).values()) == {"train"}


def test_a_known_side_is_kept():
    lowest = min(groups(50), key=side_value)
    highest = max(groups(50), key=side_value)
    sides = split_groups(groups(50), 0.2, known={lowest: "train", highest: "heldout", "gone": "train"}, ensure=True)
    assert (sides[lowest], sides[highest]) == ("train", "heldout")
    assert "gone" not in sides


def test_groups_come_from_the_path_or_from_the_content():
    assert group_of("c0ffee", "walk/person3_07.mp4", r"person\d+") == "by:person3"
    assert group_of("c0ffee", "walk/person3_07.mp4", r"(person\d+)_") == "by:person3"
    assert group_of("c0ffee", "walk/dog.mp4", r"person\d+") == "c0ffee"
    assert group_of("c0ffee", "walk/dog.mp4", None) == "c0ffee"
