"""Model families behind one protocol: `loading.load` gives a `protocol.Model`."""
