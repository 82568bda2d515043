"""Everything that differs between sensors: raw formats, options and representations."""
