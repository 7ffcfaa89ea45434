"""What the end-to-end tests stand on: the real binary, hostile and well-behaved producers, engines, and a model.

`server` runs the binary, `wire` speaks to it, `model` says what the lake must hold, `engines` reads what it holds,
`s3` is an object store with weather. Nothing in here knows how DoLake works inside.
"""
