"""The report of runs: what they made, collected, as one HTML page or as Markdown."""
