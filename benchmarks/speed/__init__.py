"""Speed: what the job costs beside a bare loop, the machine, fewer cores, another version."""
