"""Order flow of many bars at once, over columns: no loop per row or bar. A profile is one bar with many rows.

rows         rows of bars as columns, and what each bar adds up to
poc          the point of control
value_area   the area that holds a share of the volume
imbalance    rows where one side outweighs the other diagonally, and stacks of them
touches      when a price was first traded at again
level_sums   what a bar keeps of its levels: their second moment, and both ends
statistics   all of these of one row a bar
states       what became of a price since: open, touched, filled
footprint_json  footprints with them as JSON
nodes        rows of much and of little volume in one profile
tpo          time at a price
developing   the rows of a period so far, bar by bar
running      sums of bars since their anchors: CVD, VWAP and its bands
joined       trades of one order, joined
table        bars with their order flow as JSON, CSV and Arrow

Where a number might not fit 64 bits, the columns are of Python's integers: slower, and the same.
"""
