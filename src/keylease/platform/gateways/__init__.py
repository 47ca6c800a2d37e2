"""Gateways as the platform knows them: enrolment, proof of identity, policy, what they push."""
