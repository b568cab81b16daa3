"""At least once on the wire, exactly once in effect: what every service needs to tell and to ask."""
