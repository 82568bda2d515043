"""Every option of armseg: type, default, help and checks in one place. Commands and docs take them from
here."""
