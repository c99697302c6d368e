"""`vsalign serve`: an index on a web page and behind a JSON API (the extra `search`: FastAPI and uvicorn)."""
