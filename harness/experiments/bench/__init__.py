"""Speed, memory and exactness against the peers: `python -m harness.experiments.bench head|step|probe`.

Peers run in the same process, in random order in every round; numbers are checked before times, so that
a faster wrong answer fails; a ratio is the median over rounds of ratios within a round; memory is
measured in a fresh process for each variant. Compare ratios across machines, never seconds.
"""
