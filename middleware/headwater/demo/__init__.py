"""The whole promise in one command: a real small model, a real ledger, the gateway, two users, their statement."""
