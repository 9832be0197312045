"""What breaks when one part of PPO is taken out or put in wrong?"""
