"""Trades in, closed and amended minutes out.

builder      the step
coverage     which trades have been applied: id_coverage, recent_coverage, and coverage_kinds, which chooses;
             `spans` of ids, in chunks
validity     which trades are no trades; `floor`: which are too old
gaps         every hole in coverage, with a cause and a state
recent       the last trades applied, to be compared with one that comes again
late         trades of minutes that the archive alone has
cutting      a history whose beginning is cut off
validation   what is wrong with closed minutes
"""
