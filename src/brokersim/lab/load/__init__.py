"""What an experiment is loaded with: workloads as plans, recorded traces, and how they are run."""
