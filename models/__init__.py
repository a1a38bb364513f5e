"""The networks: each one file with its configuration, layers, loss, decoding; uint8 arrays in, numpy out."""
