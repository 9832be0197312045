"""How far can a learned reward be climbed before people like the answers less?"""
