// Made by tools/explorers.py from 64 scenes of one object: anchors of each level, an object, on average.
const COUNTED = {"strides":[4,8,16],"foreground":[14.5625,0.515625,0.0],"ignored":[24.84375,1.9375,0.0]};
