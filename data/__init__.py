"""What the method is fed: data sets, splits, images; reports and whom to believe; releases; and the store of it all.

Never imports flows.
"""
