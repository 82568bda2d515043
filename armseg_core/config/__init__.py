"""Every option of armseg: type, default, help and checks in one place, where commands and docs find them."""
