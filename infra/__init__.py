"""What puts the pipelines and jobs to work: whole roads (infra/road), one command each."""
