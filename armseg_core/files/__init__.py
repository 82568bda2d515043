"""Every touch of the disk: pictures, arrays, tensor files, atomic writes and hashes."""
