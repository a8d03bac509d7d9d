from made_report import made_dataset, made_evaluation, made_run

from vgan.evaluation.table import COLUMNS, metric_rows


def test_each_figure_stands_beside_what_real_clips_reach_and_its_score():
    dataset = made_dataset()
    evaluation = made_evaluation(dataset, made_run(dataset))
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in metric_rows(evaluation)}
    assert len(rows) == len(evaluation.metrics) + len(evaluation.probes)
    for metric in evaluation.metrics:
        row = rows[metric.name]
        assert float(row["real"]) == float(f"{metric.floor:.4g}")
        assert row["score"] == ("" if metric.score is None else f"{metric.score:.2f}")
