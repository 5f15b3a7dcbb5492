"""The parts of AWS that Muster's cloud adapter needs and that moto does not get right.

What lives here: EC2 Auto Scaling, and of EC2 the instances, launch templates and spot prices, as state in memory behind
the wire protocol. What may not: knowledge of Muster. Invariant: what a request may hold and what an answer holds is
decided by botocore's service models, never by this code.
"""
