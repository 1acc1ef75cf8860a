"""Networks of the user: cut into stages where a part of them ends, without a change of their code.

`calls` are networks as pure functions, `program` is the traced program of a call, `cutting` decides
where it is cut, `stages` are the modules that run the pieces, and `factories` finds functions that
make networks by the name in a configuration.
"""
