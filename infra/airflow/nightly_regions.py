"""Every night: the regions of what is new in the archive, on Dataflow, and its descriptions, on a Ray cluster.

An Airflow DAG. It is safe to run twice, or late: `--refresh` extracts what the table does not list yet, and a run that
was cut short is gone on with by the next. The variables project, region, bucket, image, cluster (the address of Ray's
dashboard) and token are Airflow's; vsalign[ray] is installed where its workers run.
"""

from __future__ import annotations

import pendulum
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "vsalign_nightly_regions",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,  # a night that was missed is in the next: what is new is new since the last plan, not since a date
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": pendulum.duration(minutes=10)},
) as dag:
    regions = DataflowStartFlexTemplateOperator(
        task_id="extract_regions",
        project_id="{{ var.value.project }}",
        location="{{ var.value.region }}",
        deferrable=True,
        body={
            "launchParameter": {
                "jobName": "vsalign-regions-{{ ds_nodash }}",
                "containerSpecGcsPath": "gs://{{ var.value.bucket }}/templates/extract_regions.json",
                "parameters": {
                    "images": "gs://{{ var.value.bucket }}/photographs",
                    "output": "gs://{{ var.value.bucket }}/regions",
                    "refresh": "true",
                    "threads": "1",
                },
                "environment": {
                    "tempLocation": "gs://{{ var.value.bucket }}/dataflow/temp",
                    "sdkContainerImage": "{{ var.value.image }}",
                    "machineType": "n2d-standard-8",
                    "flexrsGoal": "COST_OPTIMIZED",
                },
            }
        },
    )
    bucket = "gs://{{ var.value.bucket }}"
    descriptions = BashOperator(
        task_id="caption_images",
        bash_command=(
            "python -m jobs.submit caption_images --refresh --actors 16 --cluster {{ var.value.cluster }} "
            f"--images {bucket}/photographs --model {bucket}/describer --output {bucket}/descriptions"
        ),
        env={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "{{ var.value.token }}"},
        append_env=True,
    )
    regions >> descriptions
