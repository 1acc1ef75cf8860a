"""Networks of the user: cut into stages where a part of them ends, without a change of their code.

`calls` are networks as pure functions, `program` is the traced program of a call, `cutting` decides
where it is cut, and `stages` are the modules that run the pieces. `add_exits` puts heads on them.
`factories` finds functions that make networks by the name in a configuration, and `build` calls
them.
"""
