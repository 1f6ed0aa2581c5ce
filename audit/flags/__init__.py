"""From suspicion to flags: detectors, the threshold, measures of quality, and what correcting is worth."""
