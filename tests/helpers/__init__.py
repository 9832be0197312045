"""What several tests share.  tests/ is on sys.path: `from helpers.models import ...`."""
