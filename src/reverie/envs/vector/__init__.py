"""Many environments that step together: in this process, in others, or in one engine."""
