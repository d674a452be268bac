"""All decision tables. A further one is a folder under `data`, an adapter beside this file, and a line here."""

from tests.tables import airflow_rules, kueue_preemption, ray_binpack, slurm_dependencies, volcano_actions

TABLES = [
    slurm_dependencies.TABLE,
    airflow_rules.TABLE,
    kueue_preemption.TABLE,
    volcano_actions.TABLE,
    ray_binpack.TABLE,
]
