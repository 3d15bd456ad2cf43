"""Says whether a run is healthy: from its records, from its newest checkpoint, from its task."""
